"""Mutation testing of the kernels: does a test fail when a kernel is made wrong?"""
