"""Policies from outside, behind openpi's websocket protocol."""
