"""Speed compared with other libraries; run by hand, see README.md."""
