"""What the relayer decides, without I/O: values in, values out, time as an argument."""
