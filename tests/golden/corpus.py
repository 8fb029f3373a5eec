"""The texts and word lists that `make.py` turns into golden files.

Everything here was written for this repository. Characters that an editor hides or reorders are written as escapes, so
that what is read is what is there. No model and no tokenizer is used in this file.
"""

# Texts whose MiniLM vectors are kept. Groups name the reason a text is here, so that a failure says what broke.
TEXTS = {
    "english": [
        "The lighthouse keeper wrote down the weather every evening for forty years.",
        "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
        "A violin has four strings, usually tuned a fifth apart.",
        "Bread rises because yeast produces carbon dioxide as it eats the sugar in the dough.",
        "The train to the coast leaves at a quarter past seven and does not wait for anyone.",
        "Honey that is kept dry and closed hardly ever spoils.",
        "Water boils at a lower temperature on a mountain than at the sea.",
        "An octopus has three hearts and blood that is blue.",
        "She tuned the old radio until the hiss became a voice.",
        "The library closes at six, except on Thursdays, when it stays open until nine.",
        "Nobody remembered who had planted the walnut tree behind the school.",
        "A good index makes a slow query fast, and a bad one makes every write slow.",
        "The refund will reach your account within five working days.",
        "Vaccines teach the immune system to recognise a germ before it arrives.",
        "The bridge was closed after engineers found cracks in two of the cables.",
        "If the pump fails, turn the red valve a quarter turn to the left and call the night shift.",
        "This is a test.",
        "This is not a test.",
    ],
    "query": [
        "how do I reset my password",
        "symptoms of vitamin d deficiency",
        "best way to learn the accordion as an adult",
        "why is the sky blue",
        "difference between tcp and udp",
        "opening hours library sunday",
        "What year did the first email get sent?",
        "python list comprehension with two conditions",
        "is it safe to drink rain water",
        "my dog ate chocolate what now",
        "how long does concrete take to cure",
        "restaurants near me open now",
    ],
    "latin": [
        "Le boulanger ouvre sa boutique à cinq heures, même le dimanche.",
        "Où est passée la clé du grenier ? Elle était là hier soir.",
        "Die Straßenbahn fährt heute wegen der Bauarbeiten nur bis zum Marktplatz.",
        "Über den Dächern kreisten drei große Störche.",
        "El río creció tanto que el puente viejo quedó bajo el agua.",
        "¿Cuántos años tiene el niño que pintó este cuadro?",
        "A maçã caiu da árvore e rolou até à estrada.",
        "Não há pão fresco na padaria depois das dez.",
        "Żółta łódź płynęła cicho przez środek jeziora.",
        "Příliš tichý kůň stál u dřevěné ohrady.",
        "İstanbul'da yağmur yağıyor, ama çocuklar yine de dışarıda.",
        "Trời hôm nay đẹp quá, chúng ta đi dạo nhé!",
        "Hösten kommer tidigt i år, sade fiskaren på ön.",
        "Hyvää yötä, sanoi äiti ja sammutti valon.",
        "A hűtő üres, de a szőlő még érik az őszi napfényben.",
        "Ștefan a găsit o broască țestoasă în grădină.",
        "Það er stutt í næsta þorp, en vegurinn er ófær.",
        "Angin laut membawa bau garam ke dalam rumah.",
        "Watoto wanacheza mpira karibu na mto.",
        "Ọmọ náà ń ka ìwé ní ilé ìkàwé.",
    ],
    "greek": [
        "Η θάλασσα ήταν ήρεμη και ο ήλιος έδυε αργά.",
        "Πού βρίσκεται ο σταθμός του τρένου;",
        "ΟΔΥΣΣΕΥΣ και ὁ πολύτροπος ἀνήρ",
    ],
    "cyrillic": [
        "Снег шёл всю ночь, и утром дорогу замело.",
        "Как пройти в библиотеку?",
        "Їжак приніс яблука до свого гнізда під старим дубом.",
        "Влакът за морето тръгва в осем часа.",
        "Љубав према мору остаје, рекао је стари рибар на молу.",
        "Монгол орны тал нутаг өргөн уудам.",
        "Бабушка испекла пирог с вишней и позвала всех соседей.",
    ],
    "arabic": [
        "القطار يصل إلى المدينة في الساعة الثامنة صباحا.",
        "كَتَبَ الوَلَدُ رِسَالَةً إِلَى جَدَّتِهِ.",
        "هوا امروز آفتابی است و بچه‌ها در حیاط بازی می‌کنند.",
        "بارش کے بعد گلی میں پانی کھڑا ہو گیا۔",
        "كم عدد الكواكب في المجموعة الشمسية؟",
    ],
    "hebrew": [
        "הרכבת האחרונה יוצאת בחצות.",
        "שָׁלוֹם עֲלֵיכֶם, מַה שְּׁלוֹמְכֶם?",
        "איפה אפשר לקנות כרטיס לאוטובוס?",
    ],
    "indic": [
        "बारिश के बाद बगीचे में मोर नाच रहा था।",
        "मुझे कल सुबह की ट्रेन का टिकट चाहिए।",
        "पुस्तकालय रविवारी बंद असते.",
        "আজ সকালে নদীতে অনেক নৌকা ছিল।",
        "மழை பெய்ததால் பள்ளி மூடப்பட்டது.",
        "ఈ రోజు వాతావరణం చాలా బాగుంది.",
        "ಮಕ್ಕಳು ಮರದ ಕೆಳಗೆ ಆಡುತ್ತಿದ್ದಾರೆ.",
        "ഇന്ന് കടൽ ശാന്തമാണ്.",
        "આજે બજારમાં તાજી કેરી મળે છે.",
        "ਅੱਜ ਅਸਮਾਨ ਸਾਫ਼ ਹੈ।",
        "අද උදේ වැස්ස නැවතුණා.",
    ],
    "southeast-asian": [
        "วันนี้อากาศดีมาก เราไปเดินเล่นกันเถอะ",
        "รถไฟขบวนสุดท้ายออกตอนเที่ยงคืน",
        "ມື້ນີ້ຝົນຕົກໜັກ",
        "ថ្ងៃនេះមេឃស្រឡះ",
        "ဒီနေ့ ရာသီဥတု ကောင်းတယ်။",
    ],
    "other-scripts": [
        "დღეს კარგი ამინდია, წავიდეთ ზღვაზე.",
        "Այսօր երկինքը կապույտ է։",
        "ዛሬ አየሩ ጥሩ ነው።",
        "བོད་ཡིག་ནི་ཡག་པོ་རེད།",
        "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ",
    ],
    "chinese": [
        "今天下午的会议改到三点半开始。",
        "这家面馆的牛肉面又便宜又好吃。",
        "他把钥匙忘在办公室的抽屉里了。",
        "人工智能正在改变我们的生活方式。",
        "圖書館星期天不開門,請改天再來。",
        "颱風過後,整條街都停電了。",
        "這座橋建於一百年前,至今仍在使用。",
        "中文English混合的句子需要正确切分。",
        "𠮷野家和𡈽地是少見的字。",
    ],
    "japanese": [
        "明日の朝は早いので、もう寝ます。",
        "東京駅から歩いて五分のところに住んでいます。",
        "カタカナとひらがなと漢字がまざった文章です。",
        "ハンカクカタカナ と ガギグゲゴ",
        "すみません、トイレはどこですか?",
    ],
    "korean": [
        "오늘은 날씨가 맑아서 산책하기 좋습니다.",
        "기차가 십 분 늦게 도착했어요.",
        "이 책은 도서관에서 빌린 것입니다.",
        "\u1112\u1161\u11ab\u1100\u1173\u11af",
    ],
    "emoji": [
        "\U0001f600",
        "See you at the beach \U0001f3d6\ufe0f\U0001f30a tomorrow!",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family of four",
        "\U0001f3f3\ufe0f\u200d\U0001f308 and \U0001f3f4\u200d\u2620\ufe0f",
        "\U0001f1f3\U0001f1f1\U0001f1ef\U0001f1f5\U0001f1e7\U0001f1f7",
        "thumbs \U0001f44d\U0001f3fd up \U0001f44d\U0001f3ff",
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f Scotland plays tonight",
        "5\ufe0f\u20e3 reasons \u2764\ufe0f why",
        "great\U0001f389\U0001f389\U0001f389job",
        "\U0001f9d1\U0001f3fe\u200d\U0001f52c found it \U0001f52c",
    ],
    "combining": [
        "cafe\u0301 and caf\u00e9 should mean the same drink",
        "Z\u0351\u036b\u0343\u036a\u0302a\u0348\u035dl\u0321\u0353g\u0353\u0323o\u034e\u0359",
        "A\u030angstro\u0308m is spelled \u212bngstr\u00f6m",
        "\u0301leading mark",
        "x\u0304 is the mean of x",
        "n\u0303o man\u0303ana",
    ],
    "bidi": [
        "The word \u05e9\u05dc\u05d5\u05dd means peace, and \u0633\u0644\u0627\u0645 does too.",
        "\u200fשלום (hello) עולם\u200f",
        "\u202bright to left embedding\u202c and back",
        "file name: \u202egpj.exe",
        "\u2067\u0645\u0631\u062d\u0628\u0627\u2069 12:30 \u2066OK\u2069",
    ],
    "space": [
        "",
        " ",
        "  \t  ",
        "\n",
        " leading and trailing ",
        "two  spaces   three",
        "line one\nline two\r\nline three\ttabbed",
        "no\u00a0break\u2003em\u3000ideographic\u2028line\u2029paragraph",
        "zero\u200bwidth\u2060joiner\ufeffmark",
    ],
    "control": [
        "before\u0000after",
        "\u0000",
        "bell\u0007 escape\u001b[31mred\u001b[0m",
        "delete\u007f and next\u0085line",
        "replacement \ufffd character",
        "soft\u00adhyphen and word\u00adbreak",
        "private \ue000\uf8ff use and \U0010fffd end",
        "unassigned \u0378\u0530 noncharacter \uffff\ufffe",
    ],
    "one-token": [
        "the",
        "a",
        "7",
        ".",
        "hello",
        "中",
        "[UNK]",
    ],
    "long-word": [
        "a" * 100,
        "a" * 101,
        "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
        "pneumonoultramicroscopicsilicovolcanoconiosis",
        "word" * 40 + " then short words follow it",
        "ACGT" * 24,
    ],
    "code": [
        "fn main() { println!(\"{}\", (1..=10).sum::<u32>()); }",
        "for (let i = 0; i < rows.length; i++) total += rows[i].price;",
        "def mean(xs):\n    return sum(xs) / len(xs)\n",
        "SELECT name, count(*) FROM visits WHERE day >= '2024-01-01' GROUP BY name ORDER BY 2 DESC;",
        "git rebase --interactive HEAD~3 && git push --force-with-lease",
        "#include <stdio.h>\nint main(void) { return puts(\"hi\") < 0; }",
        "{\"id\": 17, \"tags\": [\"a\", \"b\"], \"ok\": true, \"note\": null}",
        "<a href=\"/about?lang=en&amp;dark=1\" class='btn btn-primary'>About</a>",
        "^(?:[a-z0-9_-]+\\.)+[a-z]{2,}$",
        "TypeError: Cannot read properties of undefined (reading 'length')",
        "kubectl get pods -n prod -o jsonpath='{.items[*].metadata.name}'",
        "const EMBEDDING_DIM: usize = 384; // camelCase snake_case SCREAMING_CASE",
    ],
    "number-url": [
        "https://example.org/path/to/page.html?query=value&other=1#section-2",
        "Write to first.last+tag@mail.example.com before 17:45.",
        "3.14159265358979323846264338327950288419716939937510",
        "1,234,567.89 EUR = $1,345,678.90 = ¥201,234,567",
        "+49 (0)30 1234-5678",
        "192.168.0.1/24 and 2001:db8::ff00:42:8329",
        "v1.2.3-beta.4+build.567",
        "-40 °C is -40 °F, 100% sure, 50/50, ±0.5‰",
        "C:\\Users\\me\\Documents\\notes (2).txt",
        "0xDEADBEEF 0b1010 1e-12 6.02e23",
    ],
    "symbols": [
        "∀x ∈ ℝ: x² ≥ 0 ∧ √(x²) = |x|",
        "E = mc² and ∫₀^∞ e^(-x) dx = 1",
        "“Curly” ‘quotes’ — dashes – and… ellipsis",
        "½ ⅓ ¼ ① ② Ⅳ ﬁ ﬂ Ǆ ™ ℃",
        "ＦＵＬＬ　ＷＩＤＴＨ　１２３",
        "♔♕♖ ♪♫ ☃ ✓ → ⇒ ▲ █",
        "𝕳𝖊𝖑𝖑𝖔 𝓌𝑜𝓇𝓁𝒹",
        "!!!???...;;;:::---___***",
    ],
    "case": [
        "SHOUTING IS NOT THE SAME AS SPEAKING",
        "sHoUtInG iS nOt ThE sAmE aS sPeAkInG",
        "STRASSE Straße strasse ẞ",
        "İIıi dotted and dotless",
        "Ångström naïve façade coöperate",
    ],
    "special": [
        "[CLS] written in the text [SEP] is a special token here",
        "[MASK] the [PAD] gap",
        "[cls] in small letters is not special",
        "##ing ##s",
    ],
    "paragraph": [
        "The first ships of the season came in on a Tuesday, heavy with salt and timber. By noon the harbour smelled of tar, "
        "oranges and wet rope, and the children had been sent home from school because nobody could hear the teacher over the "
        "gulls. The customs officer, who had been asleep since February, put on his good coat and walked down to the pier with "
        "his ledger under his arm.",
        "To install the sensor, first switch off the mains. Remove the two screws on the underside of the housing and lift the "
        "cover. Connect the brown wire to terminal L, the blue wire to terminal N and the green and yellow wire to earth. Close "
        "the cover, tighten the screws by hand and switch the mains back on. The lamp blinks three times when the sensor has "
        "found its base station.",
        "A hash table stores values under keys. To find a value, the table computes a number from the key and looks in the slot "
        "of that number. Two keys may share a slot; the table then has to look at both. When the table becomes too full, it "
        "moves everything into a larger one, which takes time, but so rarely that on average nobody notices.",
    ],
}

# Sentences out of which `make.py` builds texts of an exact number of tokens. Plain words, so that most are one token.
FILLER = (
    "the old man walked along the river and looked at the boats . every morning he counted them and wrote the number in a small "
    "book . when the winter came the water froze and there was nothing to count , so he counted the birds . in the spring the "
    "boats came back with new colours and new names . he liked the red one best because it had belonged to his brother . people "
    "said that he was waiting for a letter , but the letter had come years before and he had put it under the clock without "
    "reading it . one day a young woman asked him what the numbers were for . he said that a thing which is counted is not lost "
    ". she thought about this for a long time and then she began to count the stars . "
)

# Texts for the tiny random models, short enough for limits of a few dozen tokens, with one that is longer than any limit.
TINY_TEXTS = [
    "The lamp is on the table by the window.",
    "",
    "a",
    "what is the capital of france",
    "It's cold in here, isn't it? 1,234.5!",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 family \U0001f600",
    "שלום עולם and hello",
    "Снег шёл всю ночь",
    "中文 and 日本語",
    "before\u0000after\tline\nbreak  caf\u00e9",
    "SHE TOOK THE TRAIN and then she walked home along the river",
    "the old man counted the boats every morning and wrote the number in a small book and when the winter came and the water "
    "froze there was nothing to count so he counted the birds instead until the spring came back with new boats and new names",
    "an unbelievable antidisestablishmentarianism " + "q" * 101 + " end",
]

# Words from which the tokenizer strings are put together: common ones, long ones, names, and other scripts.
WORDS = (
    "the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which one you "
    "were her all she there would their we him been has when who will more no if out so said what up its about into than them "
    "can only other new some could time these two may then do first any my now such like our over man me even most made after "
    "also did many before must through back years where much your way well down should because each just those people too "
    "unbelievable internationalisation tokenization embeddings semantic photograph thunderstorm bookkeeper strengths rhythm "
    "antidisestablishmentarianism floccinaucinihilipilification hippopotamus xylophone zygote quizzical jazz fjord waltz vex "
    "don't it's we'll they're rock'n'roll mother-in-law state-of-the-art e-mail U.S.A. Ph.D. C++ C# .NET F# AT&T 24/7 "
    "McDonald iPhone LaTeX GitHub NaN HTTP2 x86_64 utf8 IPv6 COVID-19 RGB(255,0,128) 10:30pm $9.99 €5 £7 100% #tag @name "
).split()

FOREIGN_WORDS = (
    "été Straße niño coração città øre ångström žluťoučký łódź ığdır đường þorn œuvre ñandú façade naïve Übermut Ærø Škoda "
    "λόγος Ἀθῆναι ΣΊΣΥΦΟΣ ψυχή дом ёлка Їжак ћирилица ҚАЗАҚ მთა հայ ქართული "
    "مدرسة كِتَابٌ می‌خواهم پاکستان שָׁלוֹם ספר ילדים יִשְׂרָאֵל "
    "नमस्ते हिन्दी क्षत्रिय বাংলা தமிழ் తెలుగు ಕನ್ನಡ മലയാളം ગુજરાતી ਪੰਜਾਬੀ සිංහල "
    "ภาษาไทย น้ำ ລາວ ខ្មែរ မြန်မာ བོད་སྐད ኢትዮጵያ ᏣᎳᎩ ᠮᠣᠩᠭᠣᠯ ᚠᚢᚦ ⴰⵎⴰⵣⵉⵖ "
    "中文 汉字 漢字 圖書館 電腦 北京 臺灣 香港 𠮷 𡈽 㐀 豈 日本語 ひらがな カタカナ ｶﾀｶﾅ がぎ パピ 々 〆 ー 한국어 서울 ㄱㄴ 뷁"
).split()

EMOJI = [
    "\U0001f600", "\U0001f44d\U0001f3fd", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1f3\U0001f1f1",
    "\u2764\ufe0f", "5\ufe0f\u20e3", "\U0001f3f3\ufe0f\u200d\U0001f308", "\u2620", "\U0001fae0", "\U0001f9d1\u200d\U0001f4bb",
]  # fmt: skip

# Every kind of white space and invisible character that a tokenizer may keep, drop or break at.
SPACES = [
    " ", "  ", "\t", "\n", "\r", "\r\n", "\u000b", "\u000c", "\u0085", "\u00a0", "\u1680", "\u2000", "\u2003", "\u2009", "\u200a",
    "\u200b", "\u200c", "\u200d", "\u2028", "\u2029", "\u202f", "\u205f", "\u2060", "\u3000", "\ufeff", "\u180e", "\u00ad",
]  # fmt: skip

# Code point ranges for random strings: scripts, symbols, marks, controls, private use, unassigned, and the neighbours of
# the surrogates (the surrogates themselves are not characters and cannot stand in a string).
BLOCKS = {
    "ascii": (0x20, 0x7E),
    "c0-controls": (0x00, 0x1F),
    "c1-controls": (0x7F, 0x9F),
    "latin-1": (0xA0, 0xFF),
    "latin-extended-a": (0x100, 0x17F),
    "latin-extended-b": (0x180, 0x24F),
    "ipa": (0x250, 0x2AF),
    "spacing-modifiers": (0x2B0, 0x2FF),
    "combining": (0x300, 0x36F),
    "greek": (0x370, 0x3FF),
    "cyrillic": (0x400, 0x4FF),
    "cyrillic-supplement": (0x500, 0x52F),
    "armenian": (0x530, 0x58F),
    "hebrew": (0x590, 0x5FF),
    "arabic": (0x600, 0x6FF),
    "syriac": (0x700, 0x74F),
    "thaana": (0x780, 0x7BF),
    "nko": (0x7C0, 0x7FF),
    "devanagari": (0x900, 0x97F),
    "bengali": (0x980, 0x9FF),
    "gurmukhi": (0xA00, 0xA7F),
    "gujarati": (0xA80, 0xAFF),
    "tamil": (0xB80, 0xBFF),
    "telugu": (0xC00, 0xC7F),
    "kannada": (0xC80, 0xCFF),
    "malayalam": (0xD00, 0xD7F),
    "sinhala": (0xD80, 0xDFF),
    "thai": (0xE00, 0xE7F),
    "lao": (0xE80, 0xEFF),
    "tibetan": (0xF00, 0xFFF),
    "myanmar": (0x1000, 0x109F),
    "georgian": (0x10A0, 0x10FF),
    "hangul-jamo": (0x1100, 0x11FF),
    "ethiopic": (0x1200, 0x137F),
    "cherokee": (0x13A0, 0x13FF),
    "ogham-runic": (0x1680, 0x16FF),
    "khmer": (0x1780, 0x17FF),
    "mongolian": (0x1800, 0x18AF),
    "phonetic": (0x1D00, 0x1DBF),
    "latin-additional": (0x1E00, 0x1EFF),
    "greek-extended": (0x1F00, 0x1FFF),
    "general-punctuation": (0x2000, 0x206F),
    "super-sub-currency": (0x2070, 0x20CF),
    "letterlike-number": (0x2100, 0x218F),
    "arrows-maths": (0x2190, 0x22FF),
    "technical-enclosed": (0x2300, 0x24FF),
    "boxes-shapes": (0x2500, 0x26FF),
    "dingbats": (0x2700, 0x27BF),
    "glagolitic-coptic": (0x2C00, 0x2CFF),
    "supplemental-punctuation": (0x2E00, 0x2E7F),
    "radicals": (0x2E80, 0x2FDF),
    "cjk-punctuation": (0x3000, 0x303F),
    "kana": (0x3040, 0x30FF),
    "bopomofo-hangul": (0x3100, 0x31BF),
    "enclosed-cjk": (0x3200, 0x33FF),
    "cjk-a": (0x3400, 0x4DBF),
    "cjk": (0x4E00, 0x9FFF),
    "yi": (0xA000, 0xA4CF),
    "vai-bamum": (0xA500, 0xA6FF),
    "hangul": (0xAC00, 0xD7A3),
    "before-surrogates": (0xD7A4, 0xD7FF),
    "private-use": (0xE000, 0xF8FF),
    "cjk-compatibility": (0xF900, 0xFAFF),
    "presentation-forms-a": (0xFB00, 0xFDFF),
    "variation-half-marks": (0xFE00, 0xFE2F),
    "presentation-forms-b": (0xFE30, 0xFEFF),
    "half-and-full-width": (0xFF00, 0xFFEF),
    "specials": (0xFFF0, 0xFFFF),
    "linear-b": (0x10000, 0x100FF),
    "gothic-deseret": (0x10330, 0x1044F),
    "cuneiform": (0x12000, 0x123FF),
    "mathematical": (0x1D400, 0x1D7FF),
    "emoji": (0x1F300, 0x1F64F),
    "emoji-supplement": (0x1F900, 0x1F9FF),
    "cjk-b": (0x20000, 0x2A6DF),
    "cjk-compatibility-supplement": (0x2F800, 0x2FA1F),
    "cjk-g": (0x30000, 0x3134F),
    "unassigned-plane": (0x50000, 0x5FFFF),
    "tags": (0xE0000, 0xE007F),
    "variation-supplement": (0xE0100, 0xE01EF),
    "private-plane": (0x100000, 0x10FFFF),
}
