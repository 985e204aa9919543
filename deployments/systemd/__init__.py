"""``up`` as a service of systemd."""
