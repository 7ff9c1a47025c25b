"""Image captioning: describes an image in a sentence.

Shape: an image to a sequence
Headline preset: flickr8k
"""
