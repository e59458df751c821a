"""Pages, charts and pictures: how what is made is shown.

Everything that HTML pages share lies here; what stands on a page is its own room's matter.
"""
