"""Speed against peers, run by hand; see README.md."""
