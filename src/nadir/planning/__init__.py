"""What a training will need, before it starts: work, memory, disk and time.

Networks are built without numbers, so that SDXL is planned in seconds in little memory.
"""
