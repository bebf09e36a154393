"""Processing of a video as a stream: from frames to faces, features and predictions."""
