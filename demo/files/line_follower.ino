// Line follower with five reflectance sensors and proportional-derivative steering.
const int SENSORS[] = {A0, A1, A2, A3, A4};
const int LEFT_FWD = 5, LEFT_BACK = 6, RIGHT_FWD = 9, RIGHT_BACK = 10;

const float KP = 0.060, KD = 0.45;
const int CRUISE = 150;   // 0 to 255
int lastError = 0;

void drive(int forwardPin, int backPin, int speed) {
  speed = constrain(speed, -255, 255);
  analogWrite(forwardPin, speed > 0 ? speed : 0);
  analogWrite(backPin, speed < 0 ? -speed : 0);
}

// Where the line is, from -2000 (far left) to 2000 (far right).
int position() {
  long weighted = 0, total = 0;
  for (int i = 0; i < 5; i++) {
    int dark = analogRead(SENSORS[i]);
    if (dark < 200) continue;            // white paper
    weighted += (long)dark * (i - 2) * 1000;
    total += dark;
  }
  if (total == 0) return lastError < 0 ? -2000 : 2000;   // lost: turn to where it was
  return weighted / total;
}

void setup() {
  pinMode(LEFT_FWD, OUTPUT);
  pinMode(LEFT_BACK, OUTPUT);
  pinMode(RIGHT_FWD, OUTPUT);
  pinMode(RIGHT_BACK, OUTPUT);
}

void loop() {
  int error = position();
  int turn = KP * error + KD * (error - lastError);
  lastError = error;
  drive(LEFT_FWD, LEFT_BACK, CRUISE + turn);
  drive(RIGHT_FWD, RIGHT_BACK, CRUISE - turn);
  delay(4);
}
