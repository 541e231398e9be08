// Robot arm with four servos that follow four potentiometers.
#include <Servo.h>
#include "arm.h"

Servo joints[JOINTS];
float angle[JOINTS];

void setup() {
  for (int i = 0; i < JOINTS; i++) {
    joints[i].attach(SERVO_PINS[i]);
    angle[i] = 90;
  }
}

void loop() {
  for (int i = 0; i < JOINTS; i++) {
    int target = map(analogRead(KNOB_PINS[i]), 0, 1023, LOWEST[i], HIGHEST[i]);
    angle[i] += (target - angle[i]) * 0.12;   // a first-order filter: no jerks
    joints[i].write(angle[i]);
  }
  delay(15);
}
