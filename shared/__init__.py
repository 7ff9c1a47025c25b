"""What more than one app uses; knows nothing of any app."""
