"""The reader's characters; output 0 is the blank, the last one a space that is never read.

The file ../weights/plate_small_keys.txt lists them, one a line, in this order.
"""

KEYS = ('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ'
        '京沪津渝冀晋蒙辽吉黑苏浙皖闽赣鲁豫鄂湘粤桂琼川贵云藏陕甘青宁新'
        '警学挂港澳使领民航应急军空海北沈兰济南广成')
CLASSES = len(KEYS) + 2
_INDEX = {char: i + 1 for i, char in enumerate(KEYS)}


def encode(number):
    """Indices of the number's characters."""
    return [_INDEX[char] for char in number]


def decode(indices):
    return ''.join(KEYS[i - 1] for i in indices if 0 < i <= len(KEYS))
