"""The sample videos: who does and says what, when and where."""

from clips import Actor, Clip, Pose, Speech, space_evenly, space_unevenly

EXPRESSIONS = Clip(
    "expressions",
    (480, 360),
    space_evenly(25, 12),
    (
        Actor(
            "anna",
            (
                (0, "Neutral"),
                (2.4, "Happiness"),
                (4.8, "Surprise"),
                (6.8, "Anger"),
                (9.0, "Sadness"),
                (11.0, "Neutral"),
            ),
            (
                Pose(0, 0.47, 0.44, 1.28, -1),
                Pose(3, 0.52, 0.45, 1.32, 1.5),
                Pose(6, 0.54, 0.44, 1.36, 0),
                Pose(9, 0.47, 0.46, 1.30, 1.5),
                Pose(12, 0.50, 0.44, 1.32, -1),
            ),
            (
                Speech(2.7, "I am so happy to see you!", 170, 65),
                Speech(7.2, "That is not fair!", 180, 45),
                Speech(9.3, "They have all gone home.", 140, 35),
            ),
            (0.8, 2.0, 6.3, 8.4, 11.6),
        ),
    ),
)
LEAVES_AND_RETURNS = Clip(
    "leaves_and_returns_vfr",
    (640, 360),
    space_unevenly(10),
    (
        Actor(
            "kofi",
            ((0, "Happiness"), (1.6, "Neutral"), (7.4, "Surprise"), (8.8, "Happiness")),
            (
                Pose(0, 0.38, 0.56, 1.08),
                Pose(1.6, 0.46, 0.56, 1.10, 1.5),
                Pose(2.7, 0.92, 0.57, 1.10, 2),
                Pose(3.0, 0.94, 0.57, 1.10, 1),  # a part of the face is outside
                Pose(3.8, 1.50, 0.57, 1.10, 2),
                Pose(5.4, 1.50, 0.57, 1.06, -2),
                Pose(7.2, 0.58, 0.56, 1.06, -1),
                Pose(10, 0.44, 0.56, 1.10),
            ),
            (
                Speech(2.0, "I am going home now. Wait for me.", 160, 35),
                Speech(9.0, "Here I am again!", 170, 35),
            ),
            (7.0,),
        ),
    ),
    audio_start_s=1.25,
)
ROTATED_PHONE = Clip(
    "rotated_phone",
    (270, 480),
    space_evenly(30, 4),
    (
        Actor(
            "jun",
            ((0, "Neutral"), (1.2, "Happiness"), (2.6, "Surprise")),
            (Pose(0, 0.49, 0.43, 1.72, -1), Pose(4, 0.52, 0.43, 1.78, 1)),
            (Speech(1.3, "Hello from my phone.", 170, 25),),
            (0.7,),
        ),
    ),
    turns=3,
)
TWO_PEOPLE = Clip(
    "two_people",
    (640, 360),
    space_evenly(25, 6.4),
    (
        Actor(
            "kofi",
            ((0, "Neutral"), (3.4, "Surprise")),
            (
                Pose(0, 0.73, 0.44, 1.26, 1),
                Pose(2.4, 0.72, 0.44, 1.26),
                Pose(2.4, 0.26, 0.46, 1.36, -1),
                Pose(4.2, 0.27, 0.46, 1.36),
                Pose(5.8, 0.74, 0.44, 1.30, 1),
                Pose(6.4, 0.74, 0.44, 1.30),
            ),
            blinks_s=(0.6, 2.9),
        ),
        Actor(
            "anna",
            ((0, "Neutral"), (1.2, "Happiness")),
            (
                Pose(0, 0.27, 0.44, 1.26, -1),
                Pose(2.4, 0.28, 0.44, 1.28),
                Pose(2.4, 0.73, 0.47, 1.40, 1),
                Pose(4.2, 0.72, 0.47, 1.40),
                Pose(5.8, 0.26, 0.48, 1.42, -1.5),
                Pose(6.4, 0.26, 0.48, 1.42),
            ),
            (Speech(2.7, "Look who is here!", 170, 65),),
            (0.8, 5.9),
        ),
    ),
    cuts_s=(2.4,),
)
CLIPS = (EXPRESSIONS, LEAVES_AND_RETURNS, ROTATED_PHONE, TWO_PEOPLE)
