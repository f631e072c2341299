# SPDX-License-Identifier: GPL-2.0-or-later
"""The ELF image inside a bzImage, for its BTF: vmlinux.py BZIMAGE OUT."""
import lzma
import os
import struct
import subprocess
import sys
import zlib


def payload(image):
    """Documentation/arch/x86/boot.rst of Linux: where the compressed kernel is."""
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    return image[start:start + length]


def unpack(data):
    # The length of the kernel follows its data: decompressors must not mind a tail.
    if data[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor().decompress(data)
    if data[:2] == b"\x1f\x8b":
        return zlib.decompressobj(31).decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return subprocess.run(["zstd", "-dcq"], input=data[:-4], capture_output=True,
                              check=True).stdout
    sys.exit("vmlinux.py: unknown compression")


def main():
    with open(sys.argv[1], "rb") as f:
        elf = unpack(payload(f.read()))
    if elf[:4] != b"\x7fELF":
        sys.exit("vmlinux.py: no ELF image inside")
    new = f"{sys.argv[2]}.{os.getpid()}"
    with open(new, "wb") as f:
        f.write(elf)
    os.rename(new, sys.argv[2])


main()
