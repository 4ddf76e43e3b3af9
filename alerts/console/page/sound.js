// A ring for red cases that nobody has answered. Browsers play nothing before somebody has clicked.

let audio = null;
export const soundOn = () => audio !== null && audio.state === "running";

export async function toggleSound() {
  if (audio) { await audio.close(); audio = null; return; }
  audio = new AudioContext();
  await audio.resume();
  ring();
}

export function ring() {
  if (!soundOn()) return;
  for (const [start, pitch] of [[0, 880], [0.22, 660], [0.44, 880], [0.66, 660]]) {
    const tone = audio.createOscillator();
    const volume = audio.createGain();
    const at = audio.currentTime + start;
    tone.type = "square";
    tone.frequency.value = pitch;
    volume.gain.setValueAtTime(0.0001, at);
    volume.gain.exponentialRampToValueAtTime(0.25, at + 0.02);
    volume.gain.exponentialRampToValueAtTime(0.0001, at + 0.2);
    tone.connect(volume).connect(audio.destination);
    tone.start(at);
    tone.stop(at + 0.21);
  }
}
