"""Mood lamp: a slow rainbow that a knob dims. MicroPython on a Pico W."""
from machine import ADC, Pin
from neopixel import NeoPixel
import time

COUNT = 24
pixels = NeoPixel(Pin(28), COUNT)
knob = ADC(Pin(26))


def wheel(angle):
    """The colour at an angle from 0 to 255 on the colour wheel."""
    if angle < 85:
        return 255 - angle * 3, angle * 3, 0
    if angle < 170:
        angle -= 85
        return 0, 255 - angle * 3, angle * 3
    angle -= 170
    return angle * 3, 0, 255 - angle * 3


start = 0
while True:
    level = knob.read_u16() / 65535 * 0.6      # 60 per cent keeps 24 pixels below 1 A
    for i in range(COUNT):
        r, g, b = wheel((start + i * 256 // COUNT) % 256)
        pixels[i] = int(r * level), int(g * level), int(b * level)
    pixels.write()
    start = (start + 1) % 256
    time.sleep_ms(40)
