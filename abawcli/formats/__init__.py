"""File formats, one module each, and how outputs are named, written and recognised as finished."""
