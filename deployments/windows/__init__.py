"""``up`` as a scheduled task of Windows."""
