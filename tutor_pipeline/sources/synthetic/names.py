"""Texts: names of people and subjects, remarks, reasons. ASCII only, so each encodes to one byte.

Belongs here: texts that have no meaning for the generator.
Does not belong here: anything that decides how often a text is used.
"""

FIRST_NAMES = (
    "Ada", "Aisha", "Alan", "Amara", "Anna", "Arjun", "Beatriz", "Ben", "Carla", "Chidi",
    "Clara", "Daniel", "Deepa", "Diego", "Elena", "Emil", "Farah", "Felix", "Grace", "Hana",
    "Hugo", "Ines", "Ivan", "Jamal", "Jonas", "Julia", "Kai", "Keiko", "Lars", "Leila",
    "Lucia", "Marco", "Maria", "Mei", "Nadia", "Noah", "Olga", "Omar", "Paula", "Priya",
    "Rahel", "Ravi", "Rosa", "Sam", "Sarah", "Sofia", "Tariq", "Tessa", "Viktor", "Yuki",
)  # fmt: skip

LAST_NAMES = (
    "Abara", "Ahmed", "Andersen", "Bauer", "Bianchi", "Brown", "Carter", "Chen", "Costa",
    "Dubois", "Evans", "Fischer", "Fontana", "Garcia", "Haddad", "Hansen", "Ito", "Ivanova",
    "Jensen", "Johnson", "Kaplan", "Khan", "Kim", "Kowalski", "Larsen", "Lopez", "Martin",
    "Mbeki", "Meyer", "Moreau", "Nakamura", "Nguyen", "Novak", "Okafor", "Osei", "Patel",
    "Petrov", "Reyes", "Rossi", "Santos", "Schmidt", "Silva", "Singh", "Smith", "Suzuki",
    "Taylor", "Torres", "Weber", "Yilmaz", "Zhang",
)  # fmt: skip

# Name, category, advanced.
SUBJECTS = (
    ("Math", "STEM", False),
    ("English", "Languages", False),
    ("Science", "STEM", False),
    ("Programming", "STEM", False),
    ("Test Prep", "Exams", False),
    ("Spanish", "Languages", False),
    ("History", "Humanities", False),
    ("Physics", "STEM", True),
    ("Calculus", "STEM", True),
    ("Statistics", "STEM", True),
)

GRADE_LEVELS = ("Elementary", "Middle School", "High School", "College", "Adult")

CERTIFICATIONS = (
    "Online Teaching Basics",
    "Subject Mastery",
    "Inclusive Classroom",
    "Advanced Pedagogy",
)

TUTOR_REASONS = (
    "illness", "schedule conflict", "personal emergency", "technical problems",
    "double booking", "travel",
)  # fmt: skip
STUDENT_REASONS = ("illness", "school event", "family matter", "not prepared")

# Four bands of stars from low to high, with equally many lines in each.
FEEDBACK_TEXTS = (
    (
        "I did not understand much and was not asked whether I did.",
        "We lost a lot of time and I left confused.",
        "It felt rushed, and my questions stayed open.",
    ),
    (
        "It was all right, but I hoped for more practice.",
        "Some parts helped, others went too fast.",
        "Fine, though the start was slow.",
    ),
    (
        "Good explanations and a friendly pace.",
        "I learned what I needed for my homework.",
        "Clear and well prepared.",
    ),
    (
        "The best lesson so far: I finally see how it works!",
        "Patient, clear and fun. I look forward to the next one.",
        "Wonderful examples, and I did most of the work myself.",
    ),
)
FEEDBACK_TAGS = (
    ("confusing", "rushed", "unprepared", "not_engaging"),
    ("too_fast", "slow_start", "few_examples", "ok"),
    ("clear", "friendly", "helpful", "well_prepared"),
    ("inspiring", "patient", "clear", "great_examples"),
)

# Kind, speaker, text. First half: good sessions; second half: weak ones.
HIGHLIGHTS = (
    ("breakthrough", "student", "Oh, now I see why that works!"),
    ("praise", "tutor", "That is exactly the right idea, well done."),
    ("good_question", "student", "Does this hold for negative numbers as well?"),
    ("confusion", "student", "I am lost, can we go back a step?"),
    ("frustration", "student", "I will never get this."),
    ("monologue", "tutor", "Let me just show you the rest myself."),
)

# Per kind of intervention: subject line, content.
INTERVENTIONS = {
    "engagement": ("We have not seen you lately", "A few ideas for your next weeks with us."),
    "first_session": ("Make first sessions count", "Three openings that work well."),
    "quality": ("A closer look at your sessions", "Here is what your students say."),
    "technical": ("A better connection", "A checklist for sound, picture and line."),
    "churn": ("Can we help?", "We would like to hear how things are going for you."),
}

# Id, name, hypothesis, primary metric, intervention kind, variants with their true effect.
EXPERIMENTS = (
    (
        "EXP001", "First Session Coaching Email",
        "Personal coaching emails make first sessions better",
        "engagement_lift", "first_session",
        {"control": 0.0, "treatment_a": 0.15, "treatment_b": 0.05},
    ),
    (
        "EXP002", "Engagement Reminder Timing",
        "Evening reminders are answered more often than morning ones",
        "email_response_rate", "engagement",
        {"control": 0.0, "morning": 0.02, "evening": 0.10},
    ),
    (
        "EXP003", "Quality Feedback Format",
        "Charts are understood better than words",
        "engagement_improvement", "quality",
        {"control": 0.0, "detailed": 0.04, "visual": 0.08},
    ),
    (
        "EXP004", "Intervention Frequency",
        "Every other week works better than weekly or monthly",
        "churn_reduction", "churn",
        {"weekly": 0.0, "biweekly": 0.06, "monthly": -0.03},
    ),
    (
        "EXP005", "Connection Checklist",
        "A checklist before the first evening session prevents trouble",
        "technical_issue_rate", "technical",
        {"control": 0.0, "checklist": 0.0},
    ),
)  # fmt: skip
