"""Tensors in, tensors out: the transformer, flow matching, codecs and encoders."""
