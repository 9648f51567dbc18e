"""What a run will need of a machine: predicted from shapes alone, without a GPU and without weights."""
