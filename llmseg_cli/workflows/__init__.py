"""What each command does, without a terminal; a command of several files has a room."""
