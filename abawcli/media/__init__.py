"""Frames and audio of media files, on one clock."""
