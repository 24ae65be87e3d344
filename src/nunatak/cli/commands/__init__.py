"""One module per command, each with run(words) -> exit status."""
