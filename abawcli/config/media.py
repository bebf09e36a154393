"""Reading of video and audio."""

from dataclasses import dataclass

ROTATIONS = (0, 90, 180, 270)  # degrees clockwise by which frames can be rotated
AUDIO_RATE_HZ = 16_000  # sampling rate that Wav2Vec 2.0, WavLM and compact-voice expect


@dataclass(frozen=True)
class Media:
    """Reading of video and audio."""

    # Frame rate of a stream without times or a rate, FFmpeg's own default, and of the rows of a
    # file without video.
    fallback_fps: int = 25
    # A header may state a duration that is this much too long: rounding, or the last frame.
    cut_tolerance_s: float = 0.5
    # A jump in audio times that is a real gap. Smaller ones are rounding to milliseconds, and half
    # an audio frame of Wav2Vec 2.0.
    audio_gap_s: float = 0.01
    # Largest frame: what the largest cameras make. Decoded, it takes about 2 GB.
    frame_megapixels: int = 200
    # Difference of a pixel's width from its height that is ignored: encoders round the ratio.
    square_pixels: float = 0.01
    level_degrees: int = 1  # difference of a display matrix from a quarter turn that is ignored
    widest_pixels: int = 4  # larger ratios of width and height, or the inverse, are damage
    constant_rate_s: float = 0.002  # largest difference of intervals at a constant frame rate
    # A stream's clock that goes back by this much restarts. Less is jitter of recorders, which is
    # evened out.
    restart_s: float = 0.5
    # A clock that goes ahead by this much is reset. A shorter gap is a pause of the recording and
    # keeps its length.
    jump_s: float = 3600.0
    late_start_s: float = 0.1  # a clock that begins so late makes labels late in players
    stray_s: float = 0.1  # a stray packet is ahead of the others by more than this
    stray_first: int = 8  # stray packets before the first valid one, at most
    skew_s: float = 5.0  # largest difference between streams where parts of a file are joined
    # Packets read ahead to tell a stray from a jump: two seconds, more than the audio packets that
    # share one time stamp in a transport stream. The bytes are limited as well.
    lookahead_packets: int = 100
    lookahead_bytes: int = 32 << 20
    held_frames: int = 16  # frames held back to wait for a time: H.264 reorders as many
    # Sampling rates beyond these are damage: recorders write 8 kHz to 768 kHz, DSD up to 3 MHz. To
    # resample from a thousand times as much takes memory and hours.
    audio_rates_hz: tuple[int, int] = (100, 3_072_000)
    # Larger sample values are damage: full scale is 1.0, or 2 ** 31 where floats were never scaled.
    loudest: float = 1e10
    # Energy of the mean of two channels over the mean of their energies, below which they cancel
    # each other: one is inverted. It is 1 of equal channels, 0.5 of unlike ones or of one alone.
    cancelled: float = 0.01
    # Packets whose damage makes a file be decoded in a process of its own: the first frame, which
    # others build on, and some after it. They take 10 ms.
    first_packets: int = 5
    # Consecutive audio packets; if more than half of them cannot be decoded, the others are noise.
    garbage_packets: int = 64
