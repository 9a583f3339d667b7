"""The main job on a real disk image: update, reboot, confirm; a bad update, and the way back."""
