// Pins and limits of the arm; the limits keep the links from hitting each other.
#pragma once

const int JOINTS = 4;                           // base, shoulder, elbow, gripper
const int SERVO_PINS[JOINTS] = {3, 5, 6, 9};
const int KNOB_PINS[JOINTS] = {A0, A1, A2, A3};
const int LOWEST[JOINTS] = {0, 35, 20, 60};     // degrees
const int HIGHEST[JOINTS] = {180, 150, 160, 115};
