"""What a tick and a full read cost when nothing changed, on clinics of every size."""
