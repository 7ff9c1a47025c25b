"""Export and its checks, clients and decoding."""
