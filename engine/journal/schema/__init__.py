"""The frames for others: `godark.xml` (SBE) and the C header, both made from `kernels/frames.py` and these words."""
