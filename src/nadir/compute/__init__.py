"""Processes, threads, devices and memory: how work is spread over a machine, whatever the work is.

Knows nothing of images or models; config and ground alone lie below it.
"""
