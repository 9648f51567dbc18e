"""The memory and time that a run needs, predicted from shapes alone, without a GPU and without weights."""
