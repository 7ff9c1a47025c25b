"""Describe images: a photo in, a caption out, in one graph.

Shape: one to many
Headline preset: flickr8k
"""
