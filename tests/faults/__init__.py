"""Faults on purpose: kills, damaged bytes, failing disks, power cuts, hostile peers, senseless frames."""
