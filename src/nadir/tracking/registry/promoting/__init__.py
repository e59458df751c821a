"""What decides about a version: examination, requests and answers; and which ones nobody needs."""
