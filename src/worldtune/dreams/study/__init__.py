"""The study: does a policy succeed more often if it also learns from dreams?"""
