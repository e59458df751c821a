"""What a training reads before its first step: joined once, kept on disk, mapped by every process.

`opening` is the way in; `making` joins; `kept` says where it lies and whether it is whole; `tables`
and `arrays` are the files.
"""
