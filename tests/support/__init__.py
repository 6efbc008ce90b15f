"""What several test modules share: tiny models, folders on disk."""
