"""Studies of methods that approximate functions and solutions, at equal numbers and seconds."""
