"""What every package uses: strict readers, text that is safe to print."""
