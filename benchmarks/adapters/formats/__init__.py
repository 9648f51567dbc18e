"""Adapter formats as other tools write them, each with the merge of its own tool."""
