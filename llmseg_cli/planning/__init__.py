"""What a data set and a machine ask for: settings that nobody has to choose, each with a reason."""
