"""Reads a BME280 every minute and keeps a day of readings. MicroPython on a Pico W."""
from collections import deque
from machine import I2C, Pin
import time
import bme280

i2c = I2C(0, sda=Pin(4), scl=Pin(5), freq=100_000)
sensor = bme280.BME280(i2c=i2c)
day = deque((), 24 * 60)


def read():
    temperature, pressure, humidity = sensor.read_compensated_data()
    return temperature / 100, pressure / 25600, humidity / 1024


while True:
    reading = read()
    day.append(reading)
    print("%.1f C  %.0f hPa  %.0f %%" % reading)
    time.sleep(60)
