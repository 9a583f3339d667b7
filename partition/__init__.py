"""Bytes and devices: where a partition is, and how bytes get there whole.

    kernel                      the one door through which the project changes a disk
    gpt                         partition tables: which copy to believe, in which order to write
    gptheader, gptentry         one header; one entry
    gptcopies                   finding and judging both copies
    disk, blockdev, region      a whole disk, image or device; sysfs; one partition of it
    geometry                    new tables with libparted, and its opinion on existing ones
    writer, reader, verity, …   images on partitions, and dm-verity trees
    durable                     state files that are old or new after a power cut
    flushing, trees             what durable is made of: flushing; directories as a whole
    ownership, locks            who may write; one at a time
    errors                      all that can go wrong, each a line for the user

Knows nothing of partition sets, of versions, or of TUF. Modules are imported by name; the package
itself imports nothing.
"""
