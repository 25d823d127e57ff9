DEFAULT_DEVICES = {"colour": 0.3}
DEVICE_DRAWS = 24


def draw_devices(u, p):
    return []


def apply_devices(a, r, d):
    return a
