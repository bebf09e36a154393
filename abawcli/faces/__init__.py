"""Faces in frames: detection, tracking, re-identification, choice of subjects, crops."""
