"""Commands that draw: contact sheets, timelines, labelled videos, reports, plots of scores."""
