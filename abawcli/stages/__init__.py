"""Stages: one module per command, from input path to output path."""
