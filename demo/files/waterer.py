"""Waters a plant when the soil is dry. MicroPython on an ESP32."""
from machine import ADC, Pin
import time

DRY, WET = 2900, 1250        # raw readings in air and in a glass of water
THRESHOLD = 35               # per cent
PUMP_SECONDS = 4
SOAK_SECONDS = 15 * 60       # water needs time to spread

sensor = ADC(Pin(34))
sensor.atten(ADC.ATTN_11DB)
pump = Pin(25, Pin.OUT, value=0)


def moisture():
    raw = sum(sensor.read() for _ in range(16)) // 16
    return max(0, min(100, (DRY - raw) * 100 // (DRY - WET)))


while True:
    percent = moisture()
    print("soil moisture:", percent, "%")
    if percent < THRESHOLD:
        pump.on()
        try:
            time.sleep(PUMP_SECONDS)
        finally:
            pump.off()       # whatever happens, never leave it running
    time.sleep(SOAK_SECONDS)
