"""The text that the tokenizer of `tiny` is trained on: the prompts of the method and a page of everyday talk."""

from __future__ import annotations

PROMPTS = """
<Multimodal></Multimodal>
<多模态></多模态>
Please predict the sentiment intensity of the above multimodal content in the range [-3.0, +3.0]. Assistant: The sentiment is
请对上述多模态内容的情感强度进行预测，范围在[-1.0, +1.0]之间。响应: 情感为
Please recognize the emotion of the above multimodal content from the target set <neutral:0, surprise:1, fear:2, sadness:3, joy:4, disgust:5, anger:6>. Assistant: The emotion is
请选择适用于上述多模态内容的情绪标签：<愤怒:0, 厌恶:1, 恐惧:2, 高兴:3, 平静:4, 悲伤:5, 惊奇:6>。助手: 情绪为
""".strip()  # noqa: E501 - the prompts are single lines
"""Tags and task prompts as arXiv 2502.12478 words them, so that each takes few tokens."""

TALK = """
The bus comes at eight, and I will be there before it leaves.
I don't know what you want me to say about that. You said you would call, and you didn't!
Okay, okay. Let me think about it for a minute. What time is it now?
She looked at the door, then at me, and then she said nothing at all.
We can't all go. Someone has to stay here with the children until they are asleep.
Oh, really? That's great, I'm so happy for you! When did he tell you?
No, no, no. I was going to do this for him, not for them, and you know it.
There is some bread on the table, and there is more of it in the kitchen if you are hungry.
It was just one of those things that people say when they have to say something.
Why are you looking at me like that? I think we should talk about what happened today.
He has been gone for over a week, and how could anyone have known where he went?
Well, it's a good book, but I'd like to see what other people think of it first.
Hey, come on, we're going to be late. Get your coat and let's go.
You're right, I'm sorry. I never should have asked her to come with us to your house.
Thank you very much. It would make me feel better if you could wait with me.
The first man who came back from there was not the same, and his friends were afraid.
My mother used to sing this every night, and my brother still knows all of the words.
Please put the chairs by the window, because there will be more of us than I thought.
I really want to believe that, but something is wrong here, and they won't tell us what.
今天的天气很好，我们一起出去走走吧。
你为什么不告诉我？我真的不知道他说了什么。
没有关系，这个问题我们可以明天再想。
妈妈说她要来看我们，可是现在还没有到。
我觉得这个电影很有意思，你们也应该去看看。
他是一个好人，大家都喜欢和他在一起。
""".strip()
"""Everyday talk, written for this purpose."""
