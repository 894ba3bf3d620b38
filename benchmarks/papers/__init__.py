"""Three papers under test, each a folder that `levysde study` runs."""
