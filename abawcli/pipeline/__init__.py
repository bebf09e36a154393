"""What runs over a video: frames to faces, features and predictions, as a stream."""
