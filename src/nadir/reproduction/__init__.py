"""The paper's claims, measured at the size of two CPU cores: `nadir reproduce`."""
